argo-proxy --native-anthropic
