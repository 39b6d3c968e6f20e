"""Evolution of the pool: children of relaxed candidates, their families, and the credit of the operators that made them."""
