"""`/customer/*` and `/end_user/*`: end users, whom clients name with their requests."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from ferryman.control.access import asked as asks
from ferryman.control.access.finding import budget_of, checked, checked_links, made_by
from ferryman.control.access.operation import Context, Operation, Told, changing, reading
from ferryman.control.access.shown import customer_row
from ferryman.control.access.terms import record_in
from ferryman.errors import InvalidRequest
from ferryman.store.access import Change
from ferryman.store.access_look import BUDGETS, CUSTOMERS, Look
from ferryman.store.access_rows import Customer

MAX_LISTED = 10_000


def operations() -> list[Operation]:
    """All of it, under both of LiteLLM's names."""
    return [one for prefix in ("/customer", "/end_user") for one in _operations(prefix)]


def _operations(prefix: str) -> list[Operation]:
    return [
        changing(f"{prefix}/new", asks.AskedCustomer, new, "Make a customer."),
        changing(f"{prefix}/update", asks.AskedCustomer, update, "Change a customer."),
        changing(f"{prefix}/delete", asks.NamedUsers, delete, "Delete customers."),
        changing(f"{prefix}/block", asks.NamedUsers, block, "Let nothing through of customers."),
        changing(f"{prefix}/unblock", asks.NamedUsers, unblock, "Let customers through again."),
        reading("GET", f"{prefix}/info", asks.CustomerAsked, info, "Tell of a customer."),
        reading("GET", f"{prefix}/list", asks.Nothing, listed, "List customers."),
    ]


def new(change: Change, context: Context, asked: asks.AskedCustomer) -> Told:
    """Make one."""
    if change.get(CUSTOMERS, asked.user_id) is not None:
        raise InvalidRequest(f"`user_id`: there is a customer `{asked.user_id}` already; take another id.")
    fields = _fields_in(change, context, asked, None)
    return _told(
        change, change.add(CUSTOMERS, Customer(id=asked.user_id, **made_by(change, context), **fields))
    )


def update(change: Change, context: Context, asked: asks.AskedCustomer) -> Told:
    """Change one."""
    customer = checked(change, CUSTOMERS, asked.user_id, "user_id")
    fields = _fields_in(change, context, asked, customer)
    return _told(change, change.replace(CUSTOMERS, customer, **fields))


def delete(change: Change, _context: Context, asked: asks.NamedUsers) -> Told:
    """Delete some: all of them, or none if one is not there."""
    for customer in [checked(change, CUSTOMERS, one, "user_ids") for one in dict.fromkeys(asked.user_ids)]:
        change.remove(CUSTOMERS, customer)
    number = len(set(asked.user_ids))
    text = f"Successfully deleted customers with ids: {asked.user_ids}"
    return lambda _spends: {"deleted_customers": number, "message": text}


def block(change: Change, context: Context, asked: asks.NamedUsers) -> Told:
    """Block some; those of whom we have not heard are made, as in LiteLLM."""
    return _blocked(change, context, asked.user_ids, blocked=True)


def unblock(change: Change, context: Context, asked: asks.NamedUsers) -> Told:
    """Take that back."""
    return _blocked(change, context, asked.user_ids, blocked=False)


def info(look: Look, _context: Context, asked: asks.CustomerAsked) -> Told:
    """One."""
    return _told(look, checked(look, CUSTOMERS, asked.end_user_id, "end_user_id"))


def listed(look: Look, _context: Context, _asked: asks.Nothing) -> Told:
    """All, newest first."""
    return _rows(look, look.page(CUSTOMERS, limit=MAX_LISTED).records)


def _blocked(change: Change, context: Context, ids: list[str], *, blocked: bool) -> Told:
    done: list[Customer] = []
    for one in dict.fromkeys(ids):
        found = change.get(CUSTOMERS, one) if blocked else checked(change, CUSTOMERS, one, "user_ids")
        action = "block" if blocked else "unblock"
        if found is None:
            made = Customer(id=one, blocked=blocked, **made_by(change, context))
            done.append(change.add(CUSTOMERS, made, action))
        else:
            done.append(change.replace(CUSTOMERS, found, action, blocked=blocked))
    rows = _rows(change, done)
    return lambda spends: {"blocked_users" if blocked else "unblocked_users": rows(spends)}


def _rows(look: Look, customers: list[Customer]) -> Told:
    budgets = look.many(BUDGETS, (one.budget_id for one in customers if one.budget_id is not None))
    return lambda spends: [customer_row(one, spends, budgets.get(one.budget_id or "")) for one in customers]


def _told(look: Look, customer: Customer) -> Told:
    budget = budget_of(look, customer)
    return lambda spends: customer_row(customer, spends, budget)


def _fields_in(
    change: Change, context: Context, asked: asks.AskedCustomer, before: Customer | None
) -> dict[str, Any]:
    fields = record_in(asked)
    if asked.alias is not UNSET:
        fields["alias"] = asked.alias
    kept = {name: getattr(before, name, None) for name in ("budget_id", "max_budget_nanousd")} | fields
    if kept["budget_id"] is not None and kept["max_budget_nanousd"] is not None:
        raise InvalidRequest("`max_budget` and `budget_id` exclude each other; set one of them.")
    checked_links(change, context, fields)
    return fields
