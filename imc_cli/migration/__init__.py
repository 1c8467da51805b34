"""Import and export of rooms with the tables of the ``imc`` modules of OpenSIPS and Kamailio."""
