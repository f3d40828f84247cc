"""`realtime-node dev`: a small cluster on one machine, for trying things out and for development.

`command` reads the arguments, `plan` decides every node's settings, `supervisor` starts Valkey
(`valkey`) and the nodes (`node_keeper`) as processes of their own (`child`, `leash`), watches them
and ends them; `banner` tells what can be done with it. The nodes serve the chat page (`demo`,
`page/`). Nothing here is part of a node in production.
"""
