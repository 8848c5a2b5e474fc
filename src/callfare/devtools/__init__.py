"""Stand-ins that real SDKs talk to, and the demo. Never imported by the product."""
