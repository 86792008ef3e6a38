"""What the classify task needs beside one batch: noisy labels, drawings, pictures of samples."""
