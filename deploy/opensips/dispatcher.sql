INSERT INTO dispatcher (setid, destination) VALUES (1, 'sip:10.0.0.11:5060'), (1, 'sip:10.0.0.12:5060');
