"""What doit loads. The models are put beside the BUILD.py files by prepare.py."""
