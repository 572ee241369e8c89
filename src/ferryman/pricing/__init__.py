"""What tokens cost: the catalog, and usage → cost. Pure: no clock, no network, integers only.

`catalog` holds the prices and finds the one of a model, `names` knows the spellings of models, `cost`
turns usage into money, `adjust` applies what the operator set, `estimate` guesses at what an interrupted
stream did not tell, `anew` prices an entry of the ledger, `explain` writes a cost out.
"""
