"""Scripts that measure, and ``make soak``. A package of this name that something else installed
must not hide this folder: hence this file."""
