"""The manager: what turns Applications into what Tekton needs, in the cluster, and keeps their runs in order."""
