"""The operator for Applications: runs in the cluster, in an image of its own, and watches by the framework kopf."""
