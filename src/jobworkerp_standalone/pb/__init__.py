"""Made by tools/generate_pb.py from protos/. Do not edit: run `make generate`."""
