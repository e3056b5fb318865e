"""`python -m dfllm` is the command `dfllm`."""

from dfllm.cli import main

if __name__ == "__main__":
    main(prog_name="dfllm")
