while read line; do
  case "$line" in
    recipient=*) recipient=${line#recipient=} ;;
    "")
      case "$recipient" in
        ok*) echo "action=dunno" ;;
        *) echo "action=reject I am $(id -un) $(id -gn) $# $1 in $(pwd), MAIL_CONFIG=$MAIL_CONFIG HOME=$HOME" ;;
      esac
      echo
      ;;
  esac
done
