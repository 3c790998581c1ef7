"""What workers are to do beside the steps themselves: two state machines that know nothing of processes.

Both follow the position of the run (`order.steps`). `advice` says which positions the operating system should read ahead;
`windows` says which windows are to be decoded next, and which are closed because no step needs them any more. `workers.scheduler`
sends what they say to workers, and tells them what workers have answered.
"""
