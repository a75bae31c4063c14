"""Planted defects: for each numbered rule of `milimo_arbiter.core`, ways in which it could be broken.

Each is a function that breaks the rule for the length of a test. The table says in which world it shows, and the law by
which the world notices.
"""
