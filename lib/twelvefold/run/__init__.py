"""The runner: finds the notebooks, executes them, schedules them and judges what came out."""
