"""Hydra launchers that run the trainings of a multirun in processes of their own.

``hydra/launcher=joblib`` on this machine; ``submitit_slurm`` on a SLURM cluster, and
``submitit_local``, which tries that out on one machine. A run that fails or is killed takes no
other with it. Hydra finds them because they lie in ``hydra_plugins``.
"""
