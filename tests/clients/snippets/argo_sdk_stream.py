import anthropic

client = anthropic.Anthropic(
    base_url="http://localhost:44497",
    api_key="your-anl-username",
)

with client.messages.stream(
    model="argo:claude-4.5-sonnet",
    max_tokens=1024,
    messages=[
        {"role": "user", "content": "Count from 1 to 10."}
    ],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
