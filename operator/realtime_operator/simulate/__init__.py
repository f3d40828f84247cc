"""What the operator's decisions would do to a cluster that is not there.

    scenarios → run: demand → traffic → nodes ← operated, by rounds of the real `decide`
                                │               deployment, by hpa: the rival
                              record → report (a table, JSON), plots

`command` is `realtime-operator simulate`. docs/simulation.md says what is assumed, and what a
simulation does not show. Nothing here does I/O but `command` and `settings`, and no clock is read.
"""
