"""What a run needs, looked at before the first token: machine, model, instruments, data, room."""
