"""Who may do what: credentials in, principals out."""
