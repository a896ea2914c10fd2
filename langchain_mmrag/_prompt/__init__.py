"""How `prompts` lays documents out: opened, told, and fitted to a budget."""
