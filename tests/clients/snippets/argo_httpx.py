import httpx

response = httpx.post(
    "http://localhost:44497/v1/messages",
    json={
        "model": "argo:claude-4.5-sonnet",
        "max_tokens": 100,
        "messages": [
            {"role": "user", "content": "Hello, say hi back."}
        ],
    },
    headers={
        "Content-Type": "application/json",
        "x-api-key": "your-anl-username",
        "anthropic-version": "2023-06-01",
    },
    timeout=60.0,
)
print(response.json())
