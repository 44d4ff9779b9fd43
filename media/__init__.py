"""Tools that touch media bytes, each in a sandboxed child process."""
