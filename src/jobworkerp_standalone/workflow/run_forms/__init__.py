"""The forms of ``run`` tasks, one module each. All of them are jobs of their own."""
