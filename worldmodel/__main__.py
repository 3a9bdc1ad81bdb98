"""`python -m worldmodel` is the command `worldmodel`: the client's, which this room does not import."""

import runpy

if __name__ == "__main__":
    runpy.run_module("client", run_name="__main__", alter_sys=True)
