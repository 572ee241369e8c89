export ANTHROPIC_BASE_URL="http://localhost:44497"
export ANTHROPIC_API_KEY="your-anl-username"
export CLAUDE_CODE_SKIP_ANTHROPIC_AUTH=1

claude
