"""`/budget/*`: limits and budgets to be given to others by their id."""

from __future__ import annotations

from ferryman.control.access import asked as asks
from ferryman.control.access.finding import checked, made_by, new_id, users_of_budget
from ferryman.control.access.operation import Context, Operation, Told, changing, reading
from ferryman.control.access.shown import budget_row
from ferryman.control.access.terms import terms_in
from ferryman.errors import InvalidRequest
from ferryman.store.access import Change
from ferryman.store.access_look import BUDGETS, Look
from ferryman.store.access_rows import Budget

MAX_LISTED = 10_000


def operations() -> list[Operation]:
    """All of it."""
    return [
        changing("/budget/new", asks.NewBudget, new, "Make a budget."),
        changing("/budget/update", asks.UpdateBudget, update, "Change a budget, for all that have it."),
        changing("/budget/delete", asks.NamedBudget, delete, "Delete a budget that nobody has."),
        reading("POST", "/budget/info", asks.BudgetsAsked, info, "Tell of budgets."),
        reading("GET", "/budget/list", asks.Nothing, listed, "List all budgets."),
    ]


def new(change: Change, context: Context, asked: asks.NewBudget) -> Told:
    """Make one."""
    budget_id = asked.budget_id if isinstance(asked.budget_id, str) else new_id(change)
    if change.get(BUDGETS, budget_id) is not None:
        raise InvalidRequest(f"`budget_id`: there is a budget `{budget_id}` already; take another id.")
    budget = change.add(BUDGETS, Budget(id=budget_id, **made_by(change, context), **terms_in(asked)))
    return lambda _spends: budget_row(budget)


def update(change: Change, _context: Context, asked: asks.UpdateBudget) -> Told:
    """Change one."""
    budget = checked(change, BUDGETS, asked.budget_id, "budget_id")
    after = change.replace(BUDGETS, budget, **terms_in(asked))
    return lambda _spends: budget_row(after)


def delete(change: Change, _context: Context, asked: asks.NamedBudget) -> Told:
    """Delete one, unless somebody would be without limits then."""
    budget = checked(change, BUDGETS, asked.id, "id")
    if (users := users_of_budget(change, budget.id)) > 0:
        raise InvalidRequest(
            f"`id`: the budget `{budget.id}` is that of {users} keys, users, teams, customers or tags, which "
            "would be without limits; give them another first."
        )
    change.remove(BUDGETS, budget)
    return lambda _spends: budget_row(budget)


def info(look: Look, _context: Context, asked: asks.BudgetsAsked) -> Told:
    """Several, in their order."""
    budgets = [checked(look, BUDGETS, budget_id, "budgets") for budget_id in asked.budgets]
    return lambda _spends: [budget_row(budget) for budget in budgets]


def listed(look: Look, _context: Context, _asked: asks.Nothing) -> Told:
    """All, newest first."""
    budgets = look.page(BUDGETS, limit=MAX_LISTED).records
    return lambda _spends: [budget_row(budget) for budget in budgets]
