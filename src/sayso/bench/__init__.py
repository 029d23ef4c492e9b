"""Speed side by side with a peer: ours and theirs in turn, after a check that both do the same."""
