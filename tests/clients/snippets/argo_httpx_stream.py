import httpx

with httpx.stream(
    "POST",
    "http://localhost:44497/v1/messages",
    json={
        "model": "argo:claude-4.5-sonnet",
        "max_tokens": 100,
        "stream": True,
        "messages": [
            {"role": "user", "content": "Count from 1 to 5."}
        ],
    },
    headers={
        "Content-Type": "application/json",
        "x-api-key": "your-anl-username",
        "anthropic-version": "2023-06-01",
    },
    timeout=60.0,
) as response:
    for chunk in response.iter_bytes():
        if chunk:
            print(chunk.decode(errors="replace"), end="", flush=True)
print()
