"""The boards, one TOML file each: part, clock, budget. Package data of edgeq."""
