"""Rooms from the tables of OpenSIPS's and Kamailio's ``imc`` modules, and back into them."""
