"""What `create_rag_chain` is made of, one step a module."""
