curl -X POST http://localhost:44497/v1/messages \
  -H "Content-Type: application/json" \
  -H "x-api-key: your-anl-username" \
  -H "anthropic-version: 2023-06-01" \
  -d '{
    "model": "argo:claude-4.5-sonnet",
    "max_tokens": 100,
    "messages": [
      {"role": "user", "content": "Hello, say hi back in one sentence."}
    ]
  }'
