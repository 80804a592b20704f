"""Sweeps: the plan that is written before the first job, and a folder of jobs as one object."""
