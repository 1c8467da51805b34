"""The benchmark: imc and Kamailio's imc module in turn, under the same load, on one machine."""
