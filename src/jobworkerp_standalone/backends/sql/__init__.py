"""The store on a relational database: SQLAlchemy Core, today on SQLite."""
