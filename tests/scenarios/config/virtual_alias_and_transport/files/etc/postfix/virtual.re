/^re-(.*)@josedomingo\.org$/ $1@josedomingo.org
