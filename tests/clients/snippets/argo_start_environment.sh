export USE_NATIVE_ANTHROPIC=true
argo-proxy
