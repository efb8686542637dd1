"""A task of its own, as small as one can be: numbers in, numbers out. It is no part of the package;
``test_toy_task.py`` registers it, and everything that tasks share has to work with it."""
