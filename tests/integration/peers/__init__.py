"""imc beside real SIP elements: Kamailio, sipsak, sipp, baresip."""
