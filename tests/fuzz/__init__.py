"""Seeded fuzzing: thousands of strange inputs, each tried in a process of its own.

``python -m tests.fuzz --inputs 10000 --seed 0`` (or ``make fuzz``) runs a campaign, and
``python -m tests.fuzz --attack NAME --case 17 --seed 0`` repeats one case and prints its traceback.
``python -m tests.fuzz.kills`` kills processes while they save models and while they train.

Each attack is a module with a function ``make_case(rng, folder, shared)``, which returns a
description and a function without arguments that does the work. A case depends on the seed, the
name of the attack and its number alone.
"""
