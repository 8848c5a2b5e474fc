"""What bodies look like: one example or two for each that is asked for, shown in the description of the API."""

from __future__ import annotations

from typing import Any

from callfare.server.rules import API

_TWEET = {"model": "gpt-5-mini", "usage": {"input_tokens": 1200, "output_tokens": 350}}

EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", f"{API}/price"): {"a call": _TWEET},
    ("POST", f"{API}/events"): {
        "a call of a run": {"runId": "run_42", "step": "outline", **_TWEET},
        "a call of a user": {"userId": "user_123", "key": "job-7", **_TWEET},
        "a batch": [{"runId": "run_42", **_TWEET}, {"userId": "user_123", "responseId": "resp_9", **_TWEET}],
    },
    ("POST", f"{API}/commands"): {
        "a call of a run": [{"type": "recordUsage", "runId": "run_42", "key": "call-7", **_TWEET}],
        "a run that ends": [{"type": "closeRun", "runId": "run_42", "outcome": "completed"}],
    },
    ("POST", f"{API}/reprice"): {"all": {}},
    ("POST", f"{API}/verify"): {"the whole ledger": {}},
    ("POST", f"{API}/grants"): {"credit": {"userId": "user_123", "credits": "2000", "source": "purchase"}},
    ("POST", f"{API}/runs"): {
        "by its estimate": {"userId": "user_123", "workflowType": "story"},
        "by an amount": {"userId": "user_123", "workflowType": "story", "runId": "run_42", "holdCredits": "150"},
    },
    ("POST", f"{API}/runs/{{run_id}}/extend"): {"more": {"credits": "25.5"}},
    ("POST", f"{API}/runs/{{run_id}}/touch"): {"renew": {}},
    ("POST", f"{API}/runs/{{run_id}}/close"): {"done": {"outcome": "completed"}, "failed": {"outcome": "failed"}},
    ("POST", f"{API}/keys"): {"for a service": {"label": "backend", "scopes": ["usage:write", "credits:read"]}},
    ("POST", f"{API}/keys/{{key_id}}/roll"): {"in a day": {"overlapSeconds": 86400}},
    ("POST", f"{API}/keys/{{key_id}}/revoke"): {"now": {}},
    ("POST", f"{API}/tokens"): {"to read": {"userId": "user_123", "scopes": ["me:read"], "ttlSeconds": 900}},
    ("POST", f"{API}/checkout"): {
        "a package": {"userId": "user_123", "email": "user@example.com", "packageId": "credits_2000"}
    },
    ("POST", f"{API}/portal"): {"a customer": {"userId": "user_123", "email": "user@example.com"}},
}
