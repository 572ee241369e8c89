ANTHROPIC_BASE_URL="http://localhost:44497" \
ANTHROPIC_API_KEY="your-anl-username" \
CLAUDE_CODE_SKIP_ANTHROPIC_AUTH=1 \
claude
