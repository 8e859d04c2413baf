"""What a job is: pure values and rules. No I/O, no async, nothing imported from the other rooms."""
