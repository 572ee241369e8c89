# Argo Proxy + Claude Code
export ANTHROPIC_BASE_URL="http://localhost:44497"
export ANTHROPIC_API_KEY="$(echo 'your-anl-username')"
export CLAUDE_CODE_SKIP_ANTHROPIC_AUTH=1
