"""How this program reaches other machines by HTTP on behalf of a job."""
