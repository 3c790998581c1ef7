"""What is asked for next, as two small state machines that know no processes: advice and windows.

Each looks at where the loader stands (`order.steps`) and says what comes: `advice` which positions the kernel should hear of now,
`windows` which windows are to be decoded and which have nothing left to give. The scheduler sends what they say, and tells
them what was answered.
"""
