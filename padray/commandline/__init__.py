"""What is typed, what the commands do, and what they print.
Imports everything; only `padray.api` stands above."""
