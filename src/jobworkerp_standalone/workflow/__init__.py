"""The interpreter of Serverless Workflow documents."""
