"""What people see of a search: before it, while it runs, and after it. Nothing that decides imports this."""
