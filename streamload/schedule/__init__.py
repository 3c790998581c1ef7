"""What is asked for next, as three small state machines that know no processes: steps, advice, windows.

Each looks at where the loader stands and says what comes: `steps` which positions the next step covers and where the one
after it begins, `advice` which positions the kernel should hear of now, `windows` which windows are to be decoded and which
have nothing left to give. The pipeline sends what they say, and tells them what was answered.
"""
