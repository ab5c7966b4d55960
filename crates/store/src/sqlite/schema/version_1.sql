-- What the first version wrote for one exchange.
INSERT INTO sessions VALUES (1, 'session-1', 1, 2, 20, 1764000000000, 1764000000000);
INSERT INTO exchanges VALUES (1, 0, 'request-1', 0, 20, 1, 1764000000000);
INSERT INTO messages VALUES (1, 0, 'user', '[{"text":{"text":"I am Ada."}}]');
INSERT INTO messages VALUES (1, 1, 'assistant', '[{"text":{"text":"Hello, Ada."}}]');
PRAGMA application_id = 1114794343;
PRAGMA user_version = 1;
